// Package tpm drives keys in a TPM 2.0: a chip behind /dev/tpmrm0, or a software
// TPM (swtpm) for demonstrations and tests.
//
// A [Device] owns the connection and every handle, which one job at a time has to
// itself. It keeps the keys used last loaded and one salted, encrypted HMAC session
// open, so that a signature is one TPM2_Sign. A [Backend] is the folder of key
// files over a device; it implements [key.Backend], [key.Creator], [key.Importer],
// [key.PINChanger] and [key.Deleter]. [Wrap] encrypts a software key for the storage
// key of a TPM elsewhere.
//
// # Files
//
// NAME.tpm is a TSS2 PEM key file (draft-bottomley-tpm2-keys) and the truth: it
// is written last, by link, so that a key is there whole or not at all. NAME.pub
// is the OpenSSH line; NAME-cert.pub, which a person puts there, a certificate of the
// key. NAME.json holds what the key file has no room for. A
// key's usage is its policy: [key.Usage.Label], which nothing satisfies, as
// authPolicy beside userWithAuth. A .tpm without .json came from elsewhere: it may
// be a key under another parent than our storage primary, a persistent one or the
// primary of a hierarchy, as long as the parent has no password.
//
// # Attestation
//
// [Device.EndorsementKeys] reads the certificates of the TPM's maker. A key's Attest
// has the attestation key, one for each device, vouch for it, and [Device.Answer]
// proves that this key and the endorsement key are in one TPM.
// [VerifyAttestation] judges both and needs no device.
//
// # Trust
//
// The device answers over a bus or a socket, and its answers are hostile: their
// framing is checked, their size bounded, their waiting limited, each one and in
// all while the TPM is opened or closed; a malformed one ends the connection, and
// a panic over one only the job in hand. Somebody on the bus can refuse service.
// He learns no PIN and no digest, and no answer of his is taken for the TPM's, as
// long as the session is salted to the storage primary of the real TPM: its Name
// is pinned at the first use of a device (trust on first use, and said so) and
// compared before each salt. An impostor who was there at the first use is
// noticed by [Device.Pin] alone: an endorsement key, whose certificate the caller has
// verified, then vouches for the storage primary. Status, the lockout counters and
// certificates are read without a session: an impostor can misreport them.
//
// Key files are parsed strictly and bounded. Somebody who can write to the key
// folder can take keys away or add his own, but cannot make a key look as if it
// had another usage or public key: both are in the public area, which the TPM
// checks when it loads the key. NAME.json is not protected: it can be made to say
// that a key may be used unattended.
//
// Only the storage primary is pinned. A parent that another program's key names is
// used in the session that is salted to it, so that an impostor learns nothing
// there either. An RSA key that was made on a TPM without SHA-384 or SHA-512 may
// also decrypt: that is how it signs with those, and gives nobody more power than
// to sign any digest.
//
// A file that is imported may come from anybody: its maker chose the usage of its
// key, and may know the key. It is marked as imported in every list, by attributes
// that the TPM enforces. [Wrap] trusts the storage key that it is given: who can put
// another one in its place gets the key, which is what [StorageName] is compared for.
//
// Evidence and answers may come from anybody, and everything in evidence but the EK
// certificate can be made in software: [VerifyAttestation] refuses what no challenge
// of the caller's own and no enrolment binds to a TPM. It trusts the caller's
// VerifyEK, the TPMs that this lets pass, the caller's [Pending] challenge, and the
// enrolments. Who controls the evidence can choose among true statements of his own
// TPM, old ones if no nonce is wanted.
//
// The TPM does not enforce usage: who has our uid, the device and a key without
// a PIN needs no agent. A software TPM protects nothing. PINs are lent to this
// package for one command; go-tpm and crypto/hmac make copies on the heap for as
// long as that command takes, and nobody can wipe those.
package tpm
