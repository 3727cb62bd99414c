package testenv

import (
	"fmt"
	"os/exec"
)

// BuildAgent builds sealsmith-agent as it is shipped, but for the version stamp: the
// Makefile knows how.
func BuildAgent(path string) error {
	build := exec.Command("make", "--silent", "agent", "OUT="+path, "VCS=-buildvcs=false")
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return nil
}
