// Package helper is the line between the agent and its helper: a process of the same
// program that is started before the agent restricts itself, and does for it what it
// cannot do any more. It asks people, follows processes to their ancestors, and
// starts a software TPM. [Start] and [Client] are the agent's side, [Serve] is the
// helper's.
//
// The line is a pair of sockets. A message has a header (verb, number, length of the
// text, length of the PIN), a text in JSON, and a PIN, which goes between the socket
// and a [secret.Buffer] on both sides. A descriptor comes with the header: of the
// process to follow one way, of the software TPM the other. Requests are worked on at
// the same time; the agent can cancel each.
//
// # Trust
//
// The helper is for an agent that a stranger may have taken over. Its verbs are fixed,
// and no request names a program, an option or a file: those were chosen at its start. An
// agent can only have it choose once more who asks people, by the configuration, which it
// reads itself and the agent cannot write.
// Requests are parsed strictly, few at a time and bounded in size. What such an agent
// can still do is to show any text in the helper's prompts and to have any process's
// ancestors told: a prompt is as honest as the agent. The agent trusts the helper with
// PINs and takes its answers within bounds. The helper leaves when the agent does, and
// takes its prompts off the screen. It cannot be started again: the agent has nobody
// left to do it.
package helper
