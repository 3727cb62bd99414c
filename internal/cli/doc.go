// Package cli is the command line: one file per command, named after it.
//
// What was asked for goes to stdout, everything else to stderr, so that commands
// compose. Errors are printed as lines "sealsmith: error: …" with
// "sealsmith: hint: …" after them; the exit statuses are in exit.go.
//
// # Trust
//
// The arguments, the environment and the configuration are the user's own. Files
// and registries named by them are hostile and are read by the packages that know
// how; this package only joins those packages and prints what they return.
package cli
