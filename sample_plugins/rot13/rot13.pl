# An outboard plugin without an SDK, in Perl and with nothing that is not part of Perl.
#
# A message is a JSON object behind a header that gives its length in bytes:
#
#     Content-Length: 44\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"shutdown"}
#
# The host asks on our stdin and we answer on our stdout. Nothing else may be printed there; for
# everything else there is stderr, which the host logs. When stdin ends, so do we.

use strict;
use warnings;
use B ();
use JSON::PP ();

binmode $_ for *STDIN, *STDOUT;    # lengths count bytes; JSON::PP turns bytes into characters and back
STDOUT->autoflush(1);              # an answer that stays in a buffer is no answer

my $json = JSON::PP->new->utf8->allow_nonref->canonical;

# ---- what this plugin does ----------------------------------------------------------------------

my %methods = (
    encode => {
        run => sub { my $text = $_[0]{text}; $text =~ tr/A-Za-z/N-ZA-Mn-za-m/; $text },
        doc => 'Rotates the letters A to Z by thirteen; twice is the text again.',
        # JSON Schema is optional; with it, the host can explain mistakes.
        params => {
            type                 => 'object',
            properties           => { text => { type => 'string' } },
            required             => ['text'],
            additionalProperties => JSON::PP::false,
        },
        result => { type => 'string' },
    },
);

# ---- the protocol -------------------------------------------------------------------------------

my $phase = 'new';    # then 'ready', then 'stopping'

# What the protocol itself may ask: a name, and what to do about it.
my %lifecycle = (
    'initialize'      => \&initialize,
    'lifecycle/start' => sub { {} },                    # nothing to prepare
    'lifecycle/ping'  => sub { { in_flight => 0 } },    # every call is answered before the next is read
    'shutdown'        => sub { $phase = 'stopping'; undef },
);

sub failure {
    my ($code, $message, @data) = @_;
    die { code => $code, message => $message, @data };
}

sub initialize {
    my ($params) = @_;
    failure(-32003, 'initialize comes once') if $phase ne 'new';
    my $spoken = ref $params->{protocol} eq 'ARRAY' ? $params->{protocol} : [];
    failure(-32008, 'only protocol 1 is spoken here', data => { supported => [1] })
        unless grep { $_ eq '1' } @$spoken;
    my @told;
    for my $name (sort keys %methods) {
        my %about = (name => $name, idempotent => JSON::PP::true, %{ $methods{$name} });
        delete $about{run};
        push @told, \%about;
    }
    $phase = 'ready';
    return {
        protocol => 1,
        plugin   => { name => 'rot13' },
        features => [],
        provides => { methods => \@told },
    };
}

# A number is a string too, for Perl; JSON::PP keeps what it was in the flags of the value.
sub is_string {
    my ($value) = @_;
    return defined $value && !ref $value && B::svref_2object(\$value)->FLAGS & B::SVf_POK;
}

# All problems, not the first one. The one type that the schemas above use is a string.
sub check {
    my ($params, $schema) = @_;
    my %reasons;
    for my $key (@{ $schema->{required} }) {
        $reasons{$key} = 'required, and missing' if !exists $params->{$key};
    }
    for my $key (keys %$params) {
        if    (!$schema->{properties}{$key}) { $reasons{$key} = 'unknown key' }
        elsif (!is_string($params->{$key}))  { $reasons{$key} = 'expected a string' }
    }
    return if !%reasons;
    my @problems = map { { path => "\$.$_", reason => $reasons{$_} } } sort keys %reasons;
    failure(-32602, join('; ', map { "$_->{path}: $_->{reason}" } @problems), data => \@problems);
}

sub answer {
    my ($method, $params) = @_;
    failure(-32002, 'initialize comes first') if $phase eq 'new' && $method ne 'initialize';
    failure(-32004, 'shutting down') if $phase eq 'stopping' && $method ne 'lifecycle/ping';
    failure(-32602, 'params must be an object') if ref $params ne 'HASH';
    return $lifecycle{$method}->($params) if $lifecycle{$method};
    my $known = $methods{$method} or failure(-32601, "no method $method");
    check($params, $known->{params});
    return $known->{run}->($params);
}

sub send_message {
    my $body = $json->encode({ jsonrpc => '2.0', @_ });
    print 'Content-Length: ', length $body, "\r\n\r\n", $body;
}

sub receive {
    my ($body) = @_;
    my $message = eval { $json->decode($body) };
    return refuse(-32700, 'not JSON') if $@;
    return refuse(-32600, 'a message is an object') if ref $message ne 'HASH';
    my ($id, $method, $params) = @$message{qw(id method params)};
    return if exists $message->{result} || exists $message->{error};    # a reply, and we never asked
    return refuse(-32600, 'a message needs a method') if !is_string($method);
    if (!exists $message->{id}) {
        # A notification. `$/cancelRequest` comes too late here, as every call is answered at once.
        exit 0 if $method eq 'exit';
        return;
    }
    return refuse(-32600, 'an id is a number or a string') if !defined $id || ref $id;
    my $result = eval { answer($method, $params // {}) };
    my $error  = $@;
    return send_message(id => $id, result => $result) if !$error;
    return send_message(id => $id, error => $error) if ref $error;
    warn $error;    # a mistake of ours, which belongs in the log too
    send_message(id => $id, error => { code => -32000, message => "$error" });
}

sub refuse {
    my ($code, $message) = @_;
    send_message(id => undef, error => { code => $code, message => $message });
}

while (1) {
    my $length;
    while (1) {
        my $line = <STDIN> // exit 0;    # the host is gone, or no longer needs us
        last if $line eq "\r\n";
        $length = $1 if $line =~ /^content-length: *(\d+)\r\n$/i;
    }
    die "a message without a length\n" unless defined $length;
    exit 0 if (read(STDIN, my $body, $length) // 0) < $length;
    receive($body);
}
