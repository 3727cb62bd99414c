// Package hint lets an error carry advice: what the person should do next. The
// advice is kept apart from the error's text, so that it can be printed on lines
// of its own and sent over the control socket.
//
// # Trust
//
// Hints are written by us. Peer-controlled text in a hint must be quoted and cut
// by whoever makes it; this package passes text through.
package hint
