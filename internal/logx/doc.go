// Package logx makes the program's logger and names its attributes.
//
// Debug is for protocol steps, Info for changes of state, Warn for degraded
// service, Error for what a person must act on. Libraries take a *slog.Logger;
// nobody touches slog's default.
//
// # Trust
//
// Attributes may hold text from a peer. slog quotes it in both formats, so it
// cannot forge a line; nobody may log signed data, a PIN or an auth value.
package logx
