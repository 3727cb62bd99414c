// Package sshtest starts a real sshd on loopback for tests, and real ssh clients
// that know it.
//
// # Trust
//
// For tests only: the server accepts the given keys for the user who runs the
// test, on a loopback address, for as long as the test runs.
package sshtest
