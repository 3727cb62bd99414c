// Package prompt asks a person: for a PIN, or whether something may be done.
//
// [New] chooses who asks: a pinentry (by our own client of the Assuan protocol),
// the program in SSH_ASKPASS, or nobody, which is an error with advice.
// [NewTerminal] asks on the terminal, for programs that run on one.
//
// A PIN goes from the asking program's pipe straight into a [secret.Buffer].
//
// # Trust
//
// The asking program is trusted with the PIN; it was chosen by the environment
// or the configuration of the agent. Its answers are parsed strictly all the
// same. The text that is shown is half hostile: values may come from whoever
// wants something signed. [Prompt.Text] makes them printable, quotes what the
// program merely claims, and keeps both apart, so such text cannot pass for a
// fact. What a person does with an honest prompt is beyond this package, and so
// is another program that draws its own.
package prompt
