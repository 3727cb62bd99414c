package version

import "runtime/debug"

// release is set by the release build: -ldflags "-X …/internal/version.release=v1.2.3".
var release string

// Text is the version for people: the release, or the commit with "+dirty" when
// the work tree had changes, or "devel".
func Text() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	var commit, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit[:min(12, len(commit))] + dirty
}
