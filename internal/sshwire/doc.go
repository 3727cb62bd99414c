// Package sshwire says what a blob is that somebody wants to have signed, and
// puts keys and signatures into SSH's wire format.
//
// [Classify] recognises what may be signed over the agent protocol: a login
// ([UserAuth]), an SSHSIG file signature, the body of a certificate
// ([ParseCertificate]), a proof of a host key ([HostKeyProof]) and, by its length
// alone, a key exchange's hash. Everything else is unrecognised.
// [Resembles] is its reverse for whole messages: it recognises, generously,
// what must not be signed as one, because it means something elsewhere.
// [PrivateKey] reads the files in which people keep private keys.
//
// # Trust
//
// Everything parsed here was chosen by a client, who may be under an attacker's
// control, and decides what a hardware key signs. Parsing is strict: data that
// is accepted re-encodes to itself, so nobody can be shown one thing and sign
// another. The input's size is limited by the caller.
package sshwire
