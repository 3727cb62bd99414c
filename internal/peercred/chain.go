package peercred

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Process is one of a [Chain].
type Process struct {
	PID int
	// Name is the path of the program for the first of a chain, the program's
	// name for the others; what a process calls itself, where it cannot be known.
	Name string
}

// Chain is a process, the one that started it, and so on.
type Chain []Process

// String is the chain in one line, with the numbers first: names may be long.
func (c Chain) String() string {
	parts := make([]string, len(c))
	for i, p := range c {
		parts[i] = fmt.Sprintf("%d %s", p.PID, p.Name)
	}
	return strings.Join(parts, ", ")
}

// errGone means that the process ended, and its number may be another's.
var errGone = errors.New("the process has ended")

// stat is what we need of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	comm   string
	parent int
	start  time.Duration // since boot
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on every architecture
// that Go knows.
const tick = time.Second / 100

func parseStat(data []byte) (s stat, err error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return s, errors.New("no name")
	}
	s.comm = string(data[open+1 : end])
	fields := strings.Fields(string(data[end+1:])) // from the third on
	if len(fields) < 20 {
		return s, fmt.Errorf("%d fields", len(fields)+2)
	}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil || s.parent < 0 {
		return s, fmt.Errorf("parent %.20q", fields[1])
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil || ticks < 0 || ticks > int64(1<<63-1)/int64(tick) {
		return s, fmt.Errorf("start time %.20q", fields[19])
	}
	s.start = time.Duration(ticks) * tick
	return s, nil
}

// proc reads about processes.
type proc struct {
	stat func(pid int) (stat, error)
	exe  func(pid int) (string, error)
}

// chain goes up from a process to the first of all, or as far as it can be followed,
// and returns when the process was started.
func (p proc) chain(pid int) (c Chain, start time.Duration, err error) {
	if pid <= 0 {
		return nil, 0, errors.New("no process has that number")
	}
	var child stat
	for len(c) < limits.ProcessChain && pid > 0 {
		s, err := p.stat(pid)
		switch {
		case err != nil && len(c) == 0:
			return nil, 0, err
		case err != nil, len(c) > 0 && s.start > child.start: // the number is another's by now
			return c, start, nil
		case len(c) == 0:
			start = s.start
		}
		c = append(c, Process{pid, p.name(pid, s, len(c) == 0)})
		pid, child = s.parent, s
	}
	return c, start, nil
}

func (p proc) name(pid int, s stat, whole bool) string {
	path, err := p.exe(pid)
	switch {
	case err != nil || path == "":
		return s.comm
	case whole:
		return path
	}
	return filepath.Base(path)
}
