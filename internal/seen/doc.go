// Package seen remembers the newest release of each signer, so that an older one that
// somebody serves again is noticed, and a second one of the same day, too. Where several
// are accepted, what was seen of one speaks against older releases of the others: they
// sign one series. Another series has another namespace.
//
// The memory is one JSON file. [Advance] compares and writes under a lock, so that of
// several processes at once none goes back behind another.
//
// # Trust
//
// What is compared must have been verified before: who can have a date remembered can
// have every older release refused. The file is ours: whoever can write to it can make
// us forget. It is read strictly, and one that was not written by this package is an
// error, never an empty memory. What is not in it is not known: the first release of a
// signer passes whatever its age, and a signer that is hidden from us since then has no
// newer date here.
package seen
