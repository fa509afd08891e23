# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# certs.bash - certificates for tests, by the openssl program
#
#   certs_ca DIR NAME                    DIR/NAME.pem, DIR/NAME.key: a CA
#   certs_issue DIR CA NAME SAN [DAYS]   DIR/NAME.pem, DIR/NAME.key: SAN as in "IP:127.0.0.1,DNS:a"
#   certs_serial FILE, certs_served HOST:PORT DIR NAME   serial numbers: of a file, of who answers there

certs_ca()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj "/CN=$2" -keyout "$1/$2.key" -out "$1/$2.pem" 2>/dev/null
}

certs_issue()
{
	local new=$1/new-$3
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" \
		-keyout "$new.key" -out "$new.csr" 2>/dev/null &&
		openssl x509 -req -in "$new.csr" -CA "$1/$2.pem" -CAkey "$1/$2.key" -days "${5:-2}" \
			-set_serial "0x$(openssl rand -hex 8)" -extfile <(echo "subjectAltName=$4") \
			-out "$new.pem" 2>/dev/null &&
		chmod 600 "$new.key" && mv "$new.key" "$1/$3.key" && mv "$new.pem" "$1/$3.pem"
}

certs_serial() { openssl x509 -in "$1" -noout -serial; }

certs_served()
{
	openssl s_client -connect "$1" -alpn h2 -CAfile "$2/ca.pem" -cert "$2/$3.pem" -key "$2/$3.key" \
		</dev/null 2>/dev/null | openssl x509 -noout -serial
}
