// Package sshsig reads and writes SSH signature files: the armor, the blob and
// the signed data of OpenSSH's PROTOCOL.sshsig, and the allowed signers file of
// ssh-keygen(1).
//
// Making a signature has two halves: [SignedData] is what a key signs, [New] and
// [Signature.Armor] make a file of the answer. Verifying has two halves as well:
// [Signature.Verify] says that the key named in the file signed these bytes, and
// [AllowedSigners.Check] says whether that key counts. Neither is enough alone.
//
// # Trust
//
// Signature files and data to be signed are hostile. An attacker who writes them
// chooses the key, so a valid signature says nothing until the key is checked;
// every input has a size limit, every encoding must be the canonical one (what
// is accepted encodes to the same bytes; only the length of the armor's lines is
// free), and there is no SHA-1, no RSA key under 2048 bits, no certificate and
// no FIDO key. An allowed signers file is trusted for what it says, but it is
// parsed as if it were not: a line that we do not understand in full refuses the
// file.
package sshsig
