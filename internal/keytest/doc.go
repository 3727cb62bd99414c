// Package keytest is the test kit of package key: keys in software that behave
// like hardware keys, and one behavioural suite, [TestBackend], that every
// backend must pass.
//
// # Trust
//
// For tests only. The private keys are in plain memory.
package keytest
