// SPDX-License-Identifier: Apache-2.0
// Dies of a signal. A script cannot: the sandbox makes it process 1, which gets no signals from itself.
int main() { __builtin_trap(); }
