// Package sshwire says what a blob is that somebody wants to have signed, and
// puts keys and signatures into SSH's wire format.
//
// [Classify] recognises what an SSH client may have signed: a login
// ([UserAuth]) and an SSHSIG file signature. Everything else is unrecognised.
// [Resembles] is its reverse for whole messages: it recognises, generously,
// what must not be signed as one, because it means something elsewhere.
//
// # Trust
//
// Everything parsed here was chosen by a client, who may be under an attacker's
// control, and decides what a hardware key signs. Parsing is strict: data that
// is accepted re-encodes to itself, so nobody can be shown one thing and sign
// another. The input's size is limited by the caller.
package sshwire
