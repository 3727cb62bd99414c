// Package archtest turns the rules of the house into tests: which package may
// import which, which package is the one door to a library, what the daemon may
// link, what an exported signature may mention, and what every file must have.
// The tables below are the rules; the first is also printed in
// docs/architecture.md.
//
// # Trust
//
// For tests only; it reads the source tree and runs the go command.
package archtest
