package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// asleep is how long the machine has slept since its start: what the clock that stands
// still meanwhile is behind. If we are held up between the two, it is too little, and
// the next look finds more.
func asleep() time.Duration {
	var running, all unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &running) != nil {
		return 0 // both are in every kernel that we run on
	}
	return time.Duration(all.Nano() - running.Nano())
}
