package sandbox

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Wanted is the ABI of Landlock that has all that we restrict (Linux 6.12).
const Wanted = 6

// Folders are what can still be reached, each with all below it. They are folders
// and not files, because a rule holds for the very file that was there: a device
// node that comes again, or a file that was replaced, would be out of reach. Nothing
// below them can be run.
type Folders struct {
	// Read are for reading.
	Read []string
	// Change are for reading, writing, making and removing files and sockets. They
	// must exist; others are left out if they do not.
	Change []string
	// Remove are for removing files and sockets.
	Remove []string
	// RemoveFolders are for removing empty folders.
	RemoveFolders []string
	// Devices are for reading and writing device nodes whose names are known.
	Devices []string
}

const (
	read = llsys.AccessFSReadFile | llsys.AccessFSReadDir
	// Folders too: the key folder comes with the first key.
	change = read | llsys.AccessFSWriteFile | llsys.AccessFSTruncate |
		llsys.AccessFSMakeReg | llsys.AccessFSMakeSock | llsys.AccessFSMakeDir |
		llsys.AccessFSRemoveFile | llsys.AccessFSRemoveDir
	// A TPM is read and written, no more. A terminal would take commands by ioctl(2).
	devices = llsys.AccessFSReadFile | llsys.AccessFSWriteFile
)

// NoNewPrivileges keeps this process and its children from ever getting more rights
// by running a program (prctl(2), PR_SET_NO_NEW_PRIVS).
func NoNewPrivileges() error {
	if err := noNewPrivileges(); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return nil
}

// Restrict restricts this process to f, as far as the kernel can, and returns the
// ABI of Landlock by which it did: 0 if the kernel has none, [Wanted] at most. With
// require, less is an error and nothing is restricted.
func Restrict(f Folders, require bool) (abi int, err error) {
	abi, err = llsys.LandlockGetABIVersion()
	if err != nil {
		abi = 0 // not in this kernel, or switched off
	}
	abi = min(abi, Wanted)
	if require && abi < Wanted {
		return abi, hint.Wrap(fmt.Errorf("the kernel's sandbox is too weak: Landlock has ABI %d here, and %d is required", abi, Wanted),
			"use Linux 6.12 or later with Landlock, or set nothing for sandbox: in config.yaml, which takes what there is")
	}
	err = landlock.V6.BestEffort().Restrict(
		landlock.PathAccess(read, f.Read...).IgnoreIfMissing(),
		landlock.PathAccess(change, f.Change...),
		landlock.PathAccess(llsys.AccessFSRemoveFile, f.Remove...).IgnoreIfMissing(),
		landlock.PathAccess(llsys.AccessFSRemoveDir, f.RemoveFolders...).IgnoreIfMissing(),
		landlock.PathAccess(devices, f.Devices...).IgnoreIfMissing(),
	)
	if err != nil {
		return 0, fmt.Errorf("restrict this process: %w", err)
	}
	return abi, nil
}
