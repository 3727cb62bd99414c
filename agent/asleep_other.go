//go:build !linux

package agent

import "time"

// asleep is not known here; the wall clock still ends what a PIN may live.
func asleep() time.Duration { return 0 }
