package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// readyFD names, in the environment of a process that [Background] started, the
// descriptor on which it says that it serves. Go cannot fork: that process is this
// program once more, with the same arguments.
const readyFD = "SEALSMITH_AGENT_READY_FD"

// startBackground starts the agent, waits until it serves, and prints where; or
// becomes the command that the agent is for.
func startBackground(f *flags, args []string, stdout, stderr io.Writer) error {
	program := ""
	if len(f.command) > 0 {
		var err error
		if program, err = exec.LookPath(f.command[0]); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0], cmd.Env, cmd.Stderr = os.Args[0], os.Environ(), stderr
	socket, err := Background(context.Background(), cmd)
	if err != nil {
		return err
	}
	pid := cmd.Process.Pid
	if program != "" {
		if err := errors.Join(os.Setenv(envSocket, socket), os.Setenv(envPID, strconv.Itoa(pid))); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", program, become(program, f.command))
	}
	_, err = fmt.Fprintf(stdout, "%s%secho Agent pid %d;\n",
		f.shell.set(envSocket, socket), f.shell.set(envPID, strconv.Itoa(pid)), pid)
	return err
}

// become runs a program in this process, or, as execvp(3) does, has sh run what names no
// interpreter.
func become(program string, args []string) error {
	err := syscall.Exec(program, args, os.Environ())
	if errors.Is(err, syscall.ENOEXEC) {
		err = syscall.Exec("/bin/sh", append([]string{"sh", program}, args[1:]...), os.Environ())
	}
	return err
}

// Background starts the agent, by a command whose environment is set, in a session of its
// own, and returns where it serves as soon as it does. Until then what it has to say goes
// to the command's stderr, from then on to its log; it keeps nothing of what is ours.
func Background(ctx context.Context, cmd *exec.Cmd) (socket string, err error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer ready.Close()
	cmd.Env = append(slices.Clip(cmd.Env), readyFD+"=3") // the first of ExtraFiles
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	text, err := io.ReadAll(io.LimitReader(ready, limits.SocketPath+1))
	if err == nil && len(text) > 0 {
		return string(text), nil
	}
	cmd.Wait() // the state says more
	return "", errors.Join(fmt.Errorf("the agent did not start: %v", cmd.ProcessState), err)
}

// readyPipe is the other end of the pipe in [Background], or nil in a process that
// somebody else started.
func readyPipe() (*os.File, error) {
	text, found := os.LookupEnv(readyFD)
	if !found {
		return nil, nil
	}
	os.Unsetenv(readyFD) // prompts and their children have no use for it
	fd, err := strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return nil, fmt.Errorf("%s=%.20q is no descriptor", readyFD, text)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready"), nil
}

// closeInherited closes what the process that started us had open: a lock or the end of
// a pipe would be held as long as we live, or our helper. What we opened, or took over, is
// closed on exec.
func closeInherited() error {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		// That of the folder is closed by now.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			syscall.Close(fd)
		}
	}
	return nil
}

// detach tells the waiting process where the agent serves and lets go of what
// that process gave us: its folder, its terminal. An error means that nobody waits
// any more.
func detach(ready *os.File, socket string) error {
	defer ready.Close()
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Our input is the null device already, as Background made it; to open one now could be
	// forbidden to us.
	for _, fd := range []int{1, 2} {
		if err := unix.Dup2(0, fd); err != nil {
			return os.NewSyscallError("dup2", err)
		}
	}
	_, err := io.WriteString(ready, socket)
	return err
}
