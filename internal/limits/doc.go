// Package limits holds every size, count and time that bounds what a stranger
// can make us do, one file per room of the house. Each constant says why it has
// its value. Readers fail at a limit; they never truncate.
//
// # Trust
//
// Only constants: nothing here can be reached by an attacker. A limit that is
// too wide is a denial of service; one that is too narrow refuses honest input.
package limits
