// SPDX-License-Identifier: Apache-2.0
// Whether KVM works on this host. /dev/kvm may be there and broken (nested virtualisation), which only shows
// when a machine hangs or aborts: found out once per boot, and remembered in a small file.
#pragma once

namespace vmpack {

/// False when there is no /dev/kvm that this process may use, or when it was found broken since the host
/// booted.
[[nodiscard]] bool kvm_may_work(const char* device = "/dev/kvm");
/// Remembers that KVM is broken until the next boot. Best effort: without the file it is found out again.
void remember_broken_kvm();

}  // namespace vmpack
