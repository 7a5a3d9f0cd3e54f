#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# GCC 12 destroys twice what `co_await` waits for inside a condition, and the coroutine frame that took its memory goes
# with it. Every co_await of the server is a statement, or all of what initialises or assigns a variable.
found=$(grep -rnE 'co_await' "${VMPACK_SOURCE_DIR:-.}/server" --include='*.cpp' --include='*.hpp' |
  grep -vE ':[0-9]+:\s*//' |
  grep -E '(if|while|for|switch|co_return) ?\(?[^;]*co_await|[&|?!]\s*co_await|\(co_await' |
  grep -vE '\) (\w+ = )?co_await|else co_await|: co_await|;\) (\w+ = )?co_await')
[ -z "$found" ] && exit 0
echo "await in a statement of its own:"
echo "$found"
exit 1
