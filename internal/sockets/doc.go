// Package sockets makes unix sockets that only their owner can reach.
//
// # Trust
//
// A socket's folder must be ours alone ([xdg.Private]), so nobody else can put
// something in the socket's place or reach it before its mode is set. Whoever
// runs under our uid can do both; the agent's protocols are made for that.
package sockets
