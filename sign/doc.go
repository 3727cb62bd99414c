// Package sign turns the answers of a hardware key into signature formats: the
// SSHSIG of ssh-keygen and the Sigstore bundle of cosign, the latter with the
// public key alone, offline: no certificate, no log entry, no timestamp.
//
// Keys of the agent sign only what they recognise, so every function here hands
// the key the thing itself (a message, a statement, a namespace) and not a
// digest; only a key made for digests signs those.
//
// # Trust
//
// What is signed is the caller's responsibility and the key's owner's: nothing
// here looks into it, except that a statement must be well formed. The key is
// trusted to be who it says; its answer is not: each signature is verified
// before it is returned, so a faulty device or a wrong agent yields an error and
// never a signature file that others would refuse.
package sign
