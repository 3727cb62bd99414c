// Package provenance makes and reads in-toto statements
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md): what
// is said about which digests. It is pure data, without keys and without
// network; package sign signs statements and package verify verifies them.
//
// The types are our own, not those of in-toto/attestation, because that library
// keeps predicates as protobuf structs: numbers above 2^53 would change between
// what somebody asks to sign and what is signed. Tests compare the two.
//
// # Trust
//
// [ParseStatement] reads bytes that may come from a registry. An attacker who
// controls them can say anything, so a statement means nothing before its
// signature was verified; parsing bounds size and depth and refuses whatever two
// readers could understand differently: duplicate, unknown and oddly spelt
// fields, text that is not UTF-8, digests that are not lower-case hexadecimal.
package provenance
