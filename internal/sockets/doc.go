// Package sockets makes unix sockets that only their owner can reach.
//
// # Trust
//
// A socket's folder must be ours alone ([xdg.Private]), or, where a person chose the
// path ([ListenNew]), one in which nobody else can replace what is ours; and nobody
// else can exchange a folder or a link on the way to it: so nobody can put something in
// the socket's place. The umask keeps others from it before its
// mode is set. Whoever runs under our uid can do both; the agent's protocols are made
// for that.
package sockets
