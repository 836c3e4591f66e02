#!/usr/bin/env bash
# Single keys in a YAML file that belongs to the user: his comments and his order stay.
# Two levels are enough: a key of the file, or of a section of it.

get_key() { # FILE SECTION KEY: its value without quotes; nothing when it is not there
    awk -v section="$2" -v key="$3" '
        /^[^ #]/ { inside = ($0 ~ "^" section ":") }
        { indent = section == "" ? "" : " +" }
        (section == "" || inside) && $0 ~ "^" indent key ":" {
            sub("^ *" key ": *", "")
            sub(/ +#.*$/, "")
            gsub(/^["\047]|["\047]$/, "")
            print
            exit
        }' "$1"
}

# Prints the file with that value in place. The templates name keys that are not set as `#key:`;
# such a line gives its place, else it comes first in its section.
with_key() { # FILE SECTION KEY VALUE
    awk -v section="$2" -v key="$3" -v value="$4" '
        BEGIN { indent = section == "" ? "" : " +" }
        { line[NR] = $0 }
        /^[^ #]/ { inside = (section != "" && $0 ~ "^" section ":"); if (inside) header = NR }
        section != "" && !inside { next }
        !set && $0 ~ "^" indent key ":" { set = NR }
        !named && $0 ~ "^" indent "#" key ":" { named = NR }
        END {
            place = set ? set : named
            if (place) match(line[place], /^ */)
            text = sprintf("%" (place ? RLENGTH : section == "" ? 0 : 2) "s", "") key ": " value
            for (n = 1; n <= NR; n++) {
                print n == place ? text : line[n]
                if (!place && n == header) print text
            }
            if (!place && !header) {
                if (section != "") print section ":"
                print text
            }
        }' "$1"
}

# The file as it should be: the user's, or the template, with the values that were given. Values
# that are the same are left as they are spelt. The file before is kept as FILE.bak.
ensure_settings() { # FILE TEMPLATE MODE [SECTION KEY VALUE]…
    local file=$1 template=$2 mode=$3 draft="$SCRATCH/${1##*/}" differs=()
    shift 3
    if [[ -f $file ]]; then cp "$file" "$draft"; else cp "$template" "$draft"; fi
    while (($#)); do
        if [[ $(get_key "$draft" "$1" "$2") != "${3//\"/}" ]]; then
            with_key "$draft" "$1" "$2" "$3" >"$draft.next"
            mv "$draft.next" "$draft"
            differs+=("$2: $3")
        fi
        shift 3
    done
    if [[ ! -f $file ]]; then
        change "$(shown "$file"), from the template" replace_file "$draft" "$file" "$mode"
    elif ((${#differs[@]})); then
        local IFS=','
        change "$(shown "$file"): ${differs[*]} (before: ${file##*/}.bak)" \
            update_settings "$draft" "$file"
    else
        unchanged "$(shown "$file")"
    fi
}

update_settings() { # DRAFT FILE
    local mode
    mode=$(stat -c %a "$2")
    replace_file "$2" "$2.bak" "$mode"
    replace_file "$1" "$2" "$mode"
}
