package agent

import (
	"syscall"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// room is how many connections there may be, so that descriptors are left for the keys,
// the device and the logs: without them the agent would list nothing and sign nothing.
type room struct{ ssh, control, upstreams int }

// newRoom is the room in this process, whose allowance Go has raised as far as it may.
func newRoom() room {
	var allowed syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &allowed); err != nil {
		return roomWithin(limits.AgentDescriptors) // as little as possible
	}
	return roomWithin(allowed.Cur)
}

// roomWithin shares out a number of descriptors: half is for logins.
func roomWithin(allowed uint64) room {
	free := int(min(allowed, 1<<20)) - limits.AgentDescriptors
	share := func(parts, limit int) int { return max(1, min(free/parts, limit)) }
	return room{
		ssh: share(2, limits.AgentConnections), control: share(4, limits.AgentConnections),
		upstreams: share(4, limits.UpstreamConnections),
	}
}
