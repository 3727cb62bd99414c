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
// wants something signed. It is printable; what others chose or merely claim is
// quoted, on lines of its own, and cut before anything that we computed would be:
// a prompt that has no room for all of that is not shown. So such text can neither
// pass for a fact nor push one out of sight. What a person does with an honest
// prompt is beyond this package, and so is another program that draws its own.
package prompt
