// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/classify.hpp"

#include <catch2/catch.hpp>

using namespace vmpack;

namespace {

ObjectClass class_of(std::string path, std::uint16_t mode = 0644) {
  FileEntry file;
  file.path = std::move(path);
  file.mode = mode;
  return classify_file(file);
}

}  // namespace

TEST_CASE("a file's class follows from its folder, its extension and its mode, in this order") {
  CHECK(class_of("/boot/vmlinuz-6.1.0-9-amd64") == ObjectClass::kBoot);
  CHECK(class_of("/boot/grub/grub.cfg") == ObjectClass::kBoot);
  CHECK(class_of("/var/lib/postgresql/15/main/base/1/1259") == ObjectClass::kDatabase);
  CHECK(class_of("/home/a/notes.sqlite") == ObjectClass::kDatabase);
  CHECK(class_of("/var/cache/apt/archives/bash_5.2.deb") == ObjectClass::kCompressed);
  CHECK(class_of("/usr/lib/x86_64-linux-gnu/libc.so.6") == ObjectClass::kExecutable);
  CHECK(class_of("/usr/lib/modules/6.1.0/kernel/fs/xfs.ko") == ObjectClass::kExecutable);
  CHECK(class_of("/etc/hostname") == ObjectClass::kText);
  CHECK(class_of("/usr/bin/env", 0755) == ObjectClass::kExecutable);
  CHECK(class_of("/usr/bin/env.txt", 0755) == ObjectClass::kText);
  CHECK(class_of("/srv/blob") == ObjectClass::kData);
}

TEST_CASE("extensions are known in capitals too") {
  CHECK(class_of("/Windows/NOTEPAD.EXE") == ObjectClass::kExecutable);
  CHECK(class_of("/Windows/System32/Ntdll.Dll") == ObjectClass::kExecutable);
  CHECK(class_of("/PHOTO.JPG") == ObjectClass::kCompressed);
}

TEST_CASE("a path's extension is what follows the last dot of its last part") {
  CHECK(file_extension("/a/b.tar.gz") == "gz");
  CHECK(file_extension("/a.d/b") == "");
  CHECK(file_extension("/a/.bashrc") == "");
  CHECK(file_extension("/a/b.") == "");
  CHECK(file_extension("") == "");
}
