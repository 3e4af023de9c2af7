# Moves the end of the lease. $1: the session's own folder, $2: seconds from now.
# The new file takes the place of the old one only when it is whole, so a full folder changes nothing.
read -r up _ </proc/uptime && echo $((${up%.*} + $2)) >"$1/lease.new" && mv "$1/lease.new" "$1/lease"
