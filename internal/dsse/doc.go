// Package dsse makes and reads the pre-authentication encoding of DSSE: the
// bytes over which a DSSE signature is made
// (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md). It uses
// the standard library alone, because the daemon links it.
//
// # Trust
//
// [ParsePAE] reads bytes that a client wants to have signed. They are hostile:
// an attacker may choose all of them. What is accepted re-encodes to the same
// bytes, so that nobody can be shown one payload and sign another.
package dsse
