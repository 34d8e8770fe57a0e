# Completion of c4py and c4pd for fish. What there is to choose from is asked of the programs
# themselves, so it is what they have: commands and options are those of --help, jobs those of the
# daemon.

function __c4p_words
    commandline -opc
end

# Lines "name<tab>what it is" of the commands, or of the options, that --help lists.
function __c4p_commands
    $argv --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)' '$1\t$2'
end

function __c4p_options
    $argv --help 2>/dev/null |
        string replace -rf '^  (?:-., )?(--[a-z-]+)(?: [A-Z=]+)? +(.*)' '$1\t$2'
end

function __c4p_is_first
    test (count (__c4p_words)) -eq 1
end

function __c4p_has_command
    set -l words (__c4p_words)
    test (count $words) -gt 1; and contains -- $words[2] $argv
end

# The program of run and submit has been named: the words are its own.
function __c4p_has_program
    set -l words (__c4p_words)
    set -l help ($words[1] $words[2] --help 2>/dev/null)
    set -l before ''
    for word in $words[3..-1]
        if not string match -q -- '-*' $word
            if test -z "$before"
                return 0
            end
            if not string match -rq -- "^  ((-., )?$before|$before, --[a-z-]+) [A-Z]" $help
                return 0
            end
        end
        set before ''
        string match -q -- '-*' $word; and set before $word
    end
    return 1
end

function __c4p_wants_options
    set -l words (__c4p_words)
    test (count $words) -gt 1; or return 1
    string match -q -- '-*' (commandline -ct); or return 1
    __c4p_has_command run submit; and __c4p_has_program; and return 1
    return 0
end

function __c4p_own_options
    set -l words (__c4p_words)
    __c4p_options $words[1] $words[2]
end

function __c4p_ids
    set -l words (__c4p_words)
    set -l state_dir
    set -l index (contains -i -- --state-dir $words)
    and set state_dir --state-dir $words[(math $index + 1)]
    $words[1] $argv --ids $state_dir 2>/dev/null
end

for program in c4py c4pd
    complete -c $program -f -n __c4p_is_first -a "(__c4p_commands $program)"
    complete -c $program -f -n __c4p_wants_options -a "(__c4p_own_options)"
end
complete -c c4py -f -n '__c4p_has_command logs wait' -a '(__c4p_ids jobs --all)'
complete -c c4py -f -n '__c4p_has_command attach cancel' -a '(__c4p_ids jobs)'
complete -c c4py -f -n '__c4p_has_command end' -a '(__c4p_ids sessions)'
complete -c c4py -F -n '__c4p_has_command run submit'
