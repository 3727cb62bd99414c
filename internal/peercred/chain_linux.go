package peercred

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// ChainOf follows a process to its ancestors. It fails if the process is no longer
// there: process, a descriptor of [ProcessOf], tells; without one (nil), a process of
// that number that is younger than the connection, whose age is given, is another.
func ChainOf(pid int, process *os.File, age time.Duration) (Chain, error) {
	c, start, err := proc{readStat, readExe}.chain(pid)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	if process != nil {
		// It has had its number all the time if it has it still.
		err = alive(process)
	} else {
		err = older(start, age)
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return c, nil
}

func alive(process *os.File) error {
	raw, err := process.SyscallConn()
	if err != nil {
		return err
	}
	var killErr error
	if err := raw.Control(func(fd uintptr) { killErr = unix.PidfdSendSignal(int(fd), 0, nil, 0) }); err != nil {
		return err
	}
	if killErr != nil && !errors.Is(killErr, unix.EPERM) {
		return fmt.Errorf("%w: %w", errGone, killErr)
	}
	return nil
}

// older says whether what started then is as old as that.
func older(start, age time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return err
	}
	if time.Duration(now.Nano())-start < age-tick {
		return errGone
	}
	return nil
}

func readStat(pid int) (stat, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limits.ProcessStat))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// readExe needs the rights to trace the process: our own user's have to be dumpable.
func readExe(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) }
