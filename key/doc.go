// Package key says what a hardware key is and where to find one. It is the
// vocabulary that the device drivers (tpm, piv), the agent and the signing
// packages share, so that none of them has to know another.
//
// A [Signer] is a private key that stays in its device. A [Backend] is a device
// driver that lists signers; a [Ring] joins several backends and finds a key by
// its [ID] or by a reference such as "tpm/release".
//
// # Trust
//
// Nothing here touches a device, a file or the network. Hostile input reaches
// this package only as the text of references, names, usages and algorithms
// (command line, configuration, control socket); the parsers accept a small
// closed grammar and refuse the rest, so the worst that such text can do is to
// name another key that its author was already allowed to name.
package key
