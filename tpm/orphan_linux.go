package tpm

import "syscall"

// endWithThread has a child asked to end when the thread that started it does, hence
// when we are killed.
func endWithThread(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
