# Serves wheels as a package index on one address, until its standard input ends.
#
#   perl wheel_server.pl ADDRESS PORT FOLDER
#
# The wheels lie in FOLDER as SHA-256/FILE, and interpreters as python/BUILD/FILE. They may be added
# at any time. It prints "ready" when it
# listens. It is Perl because it also runs in images that have no Python yet: the package perl-base
# is essential in Debian and Ubuntu. wheel_server.py serves the same on this machine.
use strict;
use warnings;
use File::Glob 'bsd_glob';
use IO::Socket::INET;

my ($address, $port, $folder) = @ARGV;
$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';

my $server = IO::Socket::INET->new(
    LocalAddr => $address, LocalPort => $port, Listen => 128, ReuseAddr => 1
) or die "$!\n";
$| = 1;
print "ready\n";

while (1) {
    my $ready = '';
    vec($ready, fileno STDIN, 1) = 1;
    vec($ready, fileno $server, 1) = 1;
    select($ready, undef, undef, undef) > 0 or next;
    if (vec($ready, fileno STDIN, 1)) {
        sysread(STDIN, my $ignored, 4096) or exit;
    }
    if (vec($ready, fileno $server, 1)) {
        my $client = $server->accept or next;
        my $child = fork;
        next if !defined $child || $child;
        alarm 1800;
        answer($client);
        exit;
    }
}

sub answer {
    my ($client) = @_;
    my $request = <$client> // return;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n$/;
    }
    my ($method, $path) = $request =~ m{^(GET|HEAD) (/[A-Za-z0-9_.+!~%/-]*) HTTP/1\.[01]\r?\n$}
        or return head($client, '400 Bad Request', 0);
    if (my ($name) = $path =~ m{^/simple/([a-z0-9-]+)/$}) {
        my $page = page($name) or return head($client, '404 Not Found', 0);
        head($client, '200 OK', length $page, 'text/html; charset=utf-8');
        print {$client} $page if $method eq 'GET';
        return;
    }
    $path =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    my ($found) = $path =~ m{^/wheels/([0-9a-f]{64}/[A-Za-z0-9_.+!-]+\.whl)$};
    ($found) = $path =~ m{^/(python/[0-9]{8}/[A-Za-z0-9_.+-]+\.tar\.gz)$} if !defined $found;
    open my $file, '<:raw', "$folder/" . ($found // 'none')
        or return head($client, '404 Not Found', 0);
    head($client, '200 OK', -s $file, 'application/octet-stream');
    return if $method ne 'GET';
    while (read $file, my $part, 1 << 16) {
        print {$client} $part or return;
    }
}

sub head {
    my ($client, $status, $size, $type) = @_;
    print {$client} "HTTP/1.1 $status\r\nContent-Length: $size\r\n",
        $type ? "Content-Type: $type\r\n" : '', "Connection: close\r\n\r\n";
}

# Returns the links to the wheels of a distribution (PEP 503); nothing if there are none.
sub page {
    my ($name) = @_;
    my $links = '';
    for my $path (sort { $a cmp $b } bsd_glob("$folder/*/*.whl")) {
        my ($sha256, $file) = $path =~ m{([0-9a-f]{64})/([^/]+)$} or next;
        my ($distribution) = $file =~ /^([^-]+)-/ or next;
        ($distribution = lc $distribution) =~ s/[-_.]+/-/g;
        next if $distribution ne $name;
        (my $quoted = $file) =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
        $links .= qq{<a href="/wheels/$sha256/$quoted#sha256=$sha256">$file</a>\n};
    }
    return $links;
}
