# Completion of c4py and c4pd for bash. What there is to choose from is asked of the programs
# themselves, so it is what they have: commands and options are those of --help, jobs those of the
# daemon.

# The commands that --help of a program lists.
_c4p_commands() {
    "$@" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'
}

# The options that --help of a program or of its command lists.
_c4p_options() {
    "$@" --help 2>/dev/null | sed -n 's/^  \(-., \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

# Does this option take a value?
_c4p_has_value() {
    local option=$1
    shift
    "$@" --help 2>/dev/null | grep -Eq -e "^  ((-., )?$option|$option, --[a-z-]+) [A-Z]"
}

# Ids of jobs or sessions, of the daemon that the words before name.
_c4p_ids() {
    local index state_dir=() name
    for ((index = 2; index < COMP_CWORD; index++)); do
        name=${COMP_WORDS[index]}
        [[ $name == --state-dir || $name == --via ]] && state_dir=("$name" "${COMP_WORDS[index + 1]}")
    done
    # bash takes the = for a word of its own.
    [[ ${state_dir[1]-} == = ]] && state_dir=()
    "${COMP_WORDS[0]}" "$@" --ids "${state_dir[@]}" 2>/dev/null
}

_c4p_reply() {
    mapfile -t COMPREPLY < <(compgen "${@:2}" -- "$1")
}

_c4p_value() {
    case $1 in
    --cwd | --state-dir) _c4p_reply "$2" -d ;;
    --python) _c4p_reply "$2" -c ;;
    --config | --check | --include | --via) _c4p_reply "$2" -f ;;
    --log-level) _c4p_reply "$2" -W "error warning info debug" ;;
    esac
}

_c4p() {
    local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]-} index
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
    if ((COMP_CWORD == 1)); then
        _c4p_reply "$word" -W "$(_c4p_commands "$program") --help --version"
        return
    fi
    if [[ $command == run || $command == submit ]]; then
        # From the program on the words are its own.
        for ((index = 2; index < COMP_CWORD; index++)); do
            [[ ${COMP_WORDS[index]} == -* || ${COMP_WORDS[index]} == = ]] && continue
            _c4p_has_value "${COMP_WORDS[index - 1]}" "$program" "$command" && continue
            [[ ${COMP_WORDS[index - 1]} == = ]] || return
        done
    fi
    if [[ $before == -* ]] && _c4p_has_value "$before" "$program" "$command"; then
        _c4p_value "$before" "$word"
    elif [[ $word == -* ]]; then
        _c4p_reply "$word" -W "$(_c4p_options "$program" "$command")"
    elif [[ $program == *c4py ]]; then
        case $command in
        logs | wait) _c4p_reply "$word" -W "$(_c4p_ids jobs --all)" ;;
        attach | cancel) _c4p_reply "$word" -W "$(_c4p_ids jobs)" ;;
        end) _c4p_reply "$word" -W "$(_c4p_ids sessions)" ;;
        run | submit) _c4p_reply "$word" -f ;;
        esac
    fi
}

complete -o bashdefault -o default -F _c4p c4py c4pd
