// Package gitmeta asks git which commit a file is from and which tags are on it. Git
// itself is asked, because only it knows every layout: packed references, annotated
// tags, worktrees, sub-folders, GIT_DIR, repositories with SHA-256.
//
// # Trust
//
// The repository is hostile: it may come from anywhere, with a configuration of its
// own. Only commands are used that read objects and references, with what could start
// a program (hooks, file system monitors, remote helpers) turned off, and filters are
// not needed because the bytes of the file are compared with the commit here. The git on
// PATH and the environment are trusted: they are the person's. Git's answers are checked
// for their form, and its complaints are quoted. The repository decides which commit and
// tags come out; who can write to it can name any.
package gitmeta
