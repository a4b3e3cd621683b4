# SPDX-License-Identifier: LGPL-2.1-or-later
# Bash completion of vmsnap. Commands and options are asked of the program itself, so they are always its own; what
# an argument means is said here.

_vmsnap_help() { # the words of a help text that match: commands or options
	command vmsnap "$@" --help 2>/dev/null
}

_vmsnap_commands() {
	_vmsnap_help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'
}

_vmsnap_options() { # COMMAND: "--to=" wants a value, "--json" does not
	_vmsnap_help "$1" | sed -n 's/^  \(-., \)\?\(--[a-z-]*=\{0,1\}\).*/\2/p'
}

# What was typed before: the same connection and configuration.
_vmsnap_context() {
	local i
	_vmsnap_connect=() _vmsnap_config=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --connect | --config)
			local value=${COMP_WORDS[i + 1]}
			[ "$value" = = ] && value=${COMP_WORDS[i + 2]}
			if [ "${COMP_WORDS[i]}" = --config ]; then
				_vmsnap_config=(--config "$value")
			else
				_vmsnap_connect=(-c "$value")
			fi
			;;
		esac
	done
}

_vmsnap_domains() {
	virsh -q "${_vmsnap_connect[@]}" list --all --name 2>/dev/null </dev/null
}

# Ids on this host: what "vmsnap list" knows without a repository's password.
_vmsnap_snapshots() {
	command vmsnap "${_vmsnap_config[@]}" list --all --json 2>/dev/null </dev/null |
		sed -n 's/^      "id": "\([0-9a-f]*\)",$/\1/p; s/^        "snapshot": "\([0-9a-f]\{8\}\)[0-9a-f]*"$/\1/p'
}

_vmsnap_repositories() {
	local file=${_vmsnap_config[1]:-${VMSNAP_CONFIG:-/etc/vmsnap/vmsnap.conf}}
	sed -n 's/^[[:space:]]*\[repository \(.*\)\][[:space:]]*$/\1/p' "$file" 2>/dev/null
}

_vmsnap_words() { # WORD…: candidates that begin with what is typed
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$_vmsnap_typed")
}

_vmsnap_files() { # [-d]
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen "${1:--f}" -- "$_vmsnap_typed")
}

_vmsnap_repository() {
	case $_vmsnap_typed in
	/* | ./* | ../*) _vmsnap_files -d ;;
	*) _vmsnap_words "$(_vmsnap_repositories)" ;;
	esac
}

_vmsnap_value() { # OPTION: false where it has none that we know
	case $1 in
	--memory) _vmsnap_words auto cow live none ;;
	--quiesce) _vmsnap_words auto require off ;;
	--progress) _vmsnap_words auto bar plain json none ;;
	--format)
		case $name in
		restore) _vmsnap_words raw qcow2 ;;
		*) _vmsnap_words restic qcow2 ;;
		esac
		;;
	--compression) _vmsnap_words auto off max ;;
	--growth) _vmsnap_words auto off ;;
	--chunk-size) _vmsnap_words 128K 256K 512K 1M 2M 4M ;;
	--to | --from) _vmsnap_repository ;;
	--snapshot) _vmsnap_words "$(_vmsnap_snapshots)" ;;
	--config) _vmsnap_files ;;
	--disks-to) _vmsnap_files -d ;;
	--connect | -c) _vmsnap_words qemu:///system qemu:///session ;;
	--as | --disk | --freeze-deadline | --limit-upload | --limit-read | --threads) ;;
	--keep-last | --keep-hourly | --keep-daily | --keep-weekly | --keep-monthly | --keep-yearly) ;;
	--max-unused) _vmsnap_words 0 5% unlimited ;;
	*) return 1 ;;
	esac
}

_vmsnap_argument() { # COMMAND
	case $1 in
	init | prune) _vmsnap_repository ;;
	check | create | export | backup | list | commit | drop | forget | recover) _vmsnap_words "$(_vmsnap_domains)" ;;
	show | verify | restore) _vmsnap_words "$(_vmsnap_snapshots)" latest ;;
	help) _vmsnap_words "$(_vmsnap_commands)" ;;
	esac
}

# The first word that is neither an option nor the value of one.
_vmsnap_command() {
	local i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --connect | --config | --progress)
			[ "${COMP_WORDS[i + 1]}" = = ] && ((i++))
			((i++))
			;;
		-*) ;;
		*)
			echo "${COMP_WORDS[i]}"
			return
			;;
		esac
	done
}

_vmsnap() {
	local _vmsnap_typed=${COMP_WORDS[COMP_CWORD]} _vmsnap_connect _vmsnap_config
	local before=${COMP_WORDS[COMP_CWORD - 1]} name
	COMPREPLY=()
	_vmsnap_context
	name=$(_vmsnap_command)
	# "--to=" arrives as the words "--to" and "=".
	if [ "$_vmsnap_typed" = = ]; then
		_vmsnap_typed=
		_vmsnap_value "$before"
		return
	fi
	if [ "$before" = = ]; then
		_vmsnap_value "${COMP_WORDS[COMP_CWORD - 2]}"
		return
	fi
	# restore's --memory is a switch.
	if [[ $before == -* && $name:$before != restore:--memory ]] && _vmsnap_value "$before"; then
		return
	fi
	if [[ $_vmsnap_typed == -* ]]; then
		_vmsnap_words "$(_vmsnap_options "$name")"
		[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
	elif [ -z "$name" ]; then
		_vmsnap_words "$(_vmsnap_commands)" help
	else
		_vmsnap_argument "$name"
	fi
	return 0
}

complete -F _vmsnap vmsnap
