// Package secret keeps passwords and PINs outside the Go heap: in pages of their
// own that are locked into memory, left out of core dumps, empty in a forked
// child, and overwritten when the secret has served.
//
// A [Buffer] shows its content only through [Buffer.Use]; printed, logged or
// marshalled it says "[secret]".
//
// # Trust
//
// This is for the time after: a core dump, a swap device, a heap that is read
// later. It does not stop code in this process, a debugger, or root. Libraries
// that a secret is lent to (HMAC, a TPM command's encoding) make short-lived
// copies on the heap that nobody can wipe. The only input from outside is the
// stream given to [Read], which is bounded by its limit.
package secret
