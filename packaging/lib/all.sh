#!/usr/bin/env bash
# What the installers share. They set HERE, the directory they lie in.

# shellcheck source=packaging/lib/journal.sh
. "$HERE/lib/journal.sh"
# shellcheck source=packaging/lib/files.sh
. "$HERE/lib/files.sh"
# shellcheck source=packaging/lib/options.sh
. "$HERE/lib/options.sh"
# shellcheck source=packaging/lib/machine.sh
. "$HERE/lib/machine.sh"
# shellcheck source=packaging/lib/bundle.sh
. "$HERE/lib/bundle.sh"
# shellcheck source=packaging/lib/program.sh
. "$HERE/lib/program.sh"
# shellcheck source=packaging/lib/settings.sh
. "$HERE/lib/settings.sh"
# shellcheck source=packaging/lib/service.sh
. "$HERE/lib/service.sh"
# shellcheck source=packaging/lib/containers.sh
. "$HERE/lib/containers.sh"
