package limits

import "time"

// Bounds between the agent and its helper, and of what the helper looks at.
const (
	// HelperText is the longest message without its PIN: a question with all its
	// lines, each cut to HelperLine.
	HelperText = 64 << 10
	// HelperLine is how much of a line is handed to the helper: several times what
	// any prompt shows of it, which then says that it cut.
	HelperLine = 1 << 10
	// HelperRequests is how many the helper works on at once: a question and a chain
	// for each prompt on the screen, the start and the end of a software TPM, and who asks.
	HelperRequests = 2*Prompts + 3
	// HelperSend is how long one side may take to read a message: nothing is in
	// its way.
	HelperSend = 5 * time.Second
	// HelperCancel is how long the helper may take to withdraw a prompt: twice
	// PromptExit, and a moment.
	HelperCancel = 2*PromptExit + time.Second
	// HelperExit is how long the helper may take to leave: as long as what it
	// started.
	HelperExit = HelperCancel + TPMExit

	// ProcessChain is how many processes of a chain are told: more than a terminal,
	// a shell, git, ssh and what starts them are, and what fits a prompt.
	ProcessChain = 16
	// ProcessStat is how much is read of /proc/PID/stat: 52 numbers and a name of 64
	// bytes at most.
	ProcessStat = 2 << 10
)
