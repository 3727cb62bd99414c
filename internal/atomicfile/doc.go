// Package atomicfile writes files so that a reader, or a machine that loses
// power, sees the whole old file or the whole new one.
//
// The order is the one that file systems ask for: a temporary file in the same
// folder, write, fsync, close, rename (or link), fsync of the folder.
//
// # Trust
//
// The caller chooses the folder and must trust it: who can write to it can
// replace any file in it. Temporary files are created with O_EXCL and are
// removed when a write fails; one left by a crash begins with ".tmp-".
package atomicfile
