// Package testenv lets a test ask for the programs it needs.
//
// A missing program skips the test with a reason, or fails it when
// SEALSMITH_REQUIRE names the program ("swtpm,ssh") or says "all". `make test`
// installs the programs and then requires them all, so no test is skipped there
// by accident.
//
// # Trust
//
// For tests only: it runs what PATH names and trusts the environment.
package testenv
