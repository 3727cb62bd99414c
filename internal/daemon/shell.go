package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// The environment by which clients find an ssh-agent.
const (
	envSocket = "SSH_AUTH_SOCK"
	envPID    = "SSH_AGENT_PID"
)

// shell is the language of what we print for somebody to eval: that of sh, or that
// of csh.
type shell struct{ csh bool }

// set is a line that sets and exports a variable.
func (s shell) set(name, value string) string {
	value = s.quote(value)
	if s.csh {
		return fmt.Sprintf("setenv %s %s;\n", name, value)
	}
	return fmt.Sprintf("%s=%s; export %s;\n", name, value, name)
}

// unset is a line that takes a variable away.
func (s shell) unset(name string) string {
	if s.csh {
		return fmt.Sprintf("unsetenv %s;\n", name)
	}
	return fmt.Sprintf("unset %s;\n", name)
}

// quote writes a path without control characters as ssh-agent does: in double
// quotes if it has to be. Those of csh have no escapes, so what is special in them
// gets single ones there.
func (s shell) quote(path string) string {
	switch {
	case !strings.ContainsAny(path, " \"'\\$`;&|<>()*?[]{}#~!^"):
		return path
	case !s.csh:
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(path) + `"`
	case strings.ContainsAny(path, "\"'\\$`!"):
		return `'` + strings.NewReplacer(`'`, `'\''`, `!`, `\!`).Replace(path) + `'`
	}
	return `"` + path + `"`
}

// killAgent ends the agent of the environment, and prints how to forget it.
func killAgent(s shell, stdout io.Writer) error {
	text := os.Getenv(envPID)
	if text == "" {
		return errors.New(envPID + " not set, cannot kill agent")
	}
	pid, err := strconv.ParseInt(text, 10, 32)
	if err != nil || pid < 2 { // 1 is no agent, and 0 and less are many processes
		return fmt.Errorf("%s=%.200q, which is not a good PID", envPID, text)
	}
	if err := syscall.Kill(int(pid), syscall.SIGTERM); err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	_, err = fmt.Fprintf(stdout, "%s%secho Agent pid %d killed;\n", s.unset(envSocket), s.unset(envPID), pid)
	return err
}
