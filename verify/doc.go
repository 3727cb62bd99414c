// Package verify decides whether a signature is good enough. It reads what
// package sign writes, and the same formats by other tools: SSHSIG files and
// Sigstore bundles with a public key.
//
// A [Verifier] exists only with a complete [Policy]: whose signatures count, in
// which formats, in which namespace, at what time. There is no default for any
// of them. A [Result] lists the checks that were really made and nothing else;
// log entries and timestamps in a Sigstore bundle are not looked at and so never
// mentioned. Use only what the Result holds, not what was passed in.
//
// # Trust
//
// Everything is hostile except the policy and the trust files it was made from:
// signatures, bundles, statements and the files they are about. An attacker who
// controls them all can make a verification fail, cost it memory up to the sizes
// in package limits and time to hash the file, and choose among the trusted
// signers' own old signatures; a signature says nothing about freshness. Where several
// signers are wanted ([Verifier.Signers]), fewer of them cannot make a yes. Trust
// files come from the caller; [Outside] refuses those that came with what is to
// be checked. Every refusal wraps [ErrRefused]; other errors mean that the check
// could not be made.
package verify
