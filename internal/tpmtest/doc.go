// Package tpmtest is the test kit of package tpm: a real software TPM behind a
// proxy that counts commands, remembers every byte, makes faults to order, and
// says at the end of the test what was left behind.
//
// # Trust
//
// For tests only. The proxy believes both sides, and keeps what they said in
// memory.
package tpmtest
