// Command sealsmith keeps signing keys in hardware and signs, builds and verifies
// TPM CA bundles and OCI images with them. See sealsmith(1).
//
// # Trust
//
// It runs as the person who types it and trusts the arguments; everything that it
// reads from files, sockets and the network is hostile and handled in the packages
// below.
package main
