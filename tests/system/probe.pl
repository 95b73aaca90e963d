# What a process in here can do: one line for each deed, `NAME done` or `NAME why not`. Without modules and without running anything,
# but for the deed that is just that.
use strict;
use warnings;

# The loader's name tells the machine: uname(1) may not be run in here.
my $numbers = -e '/lib64/ld-linux-x86-64.so.2'
    ? { ptrace => 101, mount => 165, unshare => 272, mmap => 9, clock_settime => 227, memfd_create => 319, tee => 276,
        close_range => 436, landlock => 444, seccomp => 317, prlimit => 302 }
    : { ptrace => 117, mount => 40, unshare => 97, mmap => 222, clock_settime => 112, memfd_create => 279, tee => 77,
        close_range => 436, landlock => 444, seccomp => 277, prlimit => 261 };

$| = 1;

sub report { my ($name, $done) = @_; print "$name ", ($done ? 'done' : "$!" || 'no'), "\n" }

# A system call with its arguments; as perl has it, -1 for an error.
sub deed { my ($name, $call, @arguments) = @_; report($name, syscall($numbers->{$call}, @arguments) != -1) }

# In a child: what is changed is changed there.
sub apart {
    my ($name, $try) = @_;
    my $child = fork // die "fork: $!";
    if ($child == 0) { $try->(); exit 0 }
    waitpid $child, 0;
    print "$name ended by $?\n" if $?;
}

sub reads {
    my ($name, $path) = @_;
    my $opened = open my $file, '<', $path;
    report($name, $opened && defined readline $file);
}

sub writes { my ($name, $path) = @_; report($name, open my $file, '>', $path) }

reads('home', '/home/someone/file');
# Directories that anyone may write, as far as their mode goes.
writes('write-etc', '/etc/open/file');
writes('write-usr', '/usr/open/file');
writes('write-store', "$ENV{STATE_DIRECTORY}/.probe");
report('console', -e '/dev/console');
report('set-user-id', chmod(04755, "$ENV{STATE_DIRECTORY}/.probe"));
unlink "$ENV{STATE_DIRECTORY}/.probe";
report('chroot', chroot('/'));
{
    no warnings 'exec';
    report('shell', system('/bin/true') == 0);
}

opendir(my $proc, '/proc') or die "/proc: $!";
$! = 0;
report('sees-others', scalar grep { /^\d+$/ && ((stat "/proc/$_")[4] // $<) != $< } readdir $proc);

# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK; SOCK_STREAM, SOCK_RAW.
report('unix', socket(my $unix, 1, 1, 0));
report('inet', socket(my $inet, 2, 1, 0));
report('inet6', socket(my $inet6, 10, 1, 0));
report('netlink', socket(my $netlink, 16, 3, 0));

# PTRACE_TRACEME.
apart('ptrace', sub { deed('ptrace', 'ptrace', 0, 0, 0, 0) });
# CLONE_NEWUSER.
apart('user-namespace', sub { deed('user-namespace', 'unshare', 0x10000000) });
my ($none, $where, $kind) = ('none', '/tmp', 'tmpfs');
deed('mount', 'mount', $none, $where, $kind, 0, 0);
# CLOCK_REALTIME, to a time that cannot be.
deed('set-clock', 'clock_settime', 0, pack('qq', -1, 0));
# PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS.
deed('writable-and-executable', 'mmap', 0, 4096, 7, 0x22, -1, 0);

my $name = 'probe';
deed('memfd', 'memfd_create', $name, 0);
pipe(my $read, my $write) && pipe(my $other_read, my $other_write) or die "pipe: $!";
syswrite $write, 'x';
deed('tee', 'tee', fileno $read, fileno $other_write, 1, 0);
deed('close-range', 'close_range', 1000, 1001, 0);
# LANDLOCK_CREATE_RULESET_VERSION: allowed, if the kernel has it.
report('landlock', syscall($numbers->{landlock}, 0, 0, 1) != -1 || $!{ENOSYS} || $!{EOPNOTSUPP});
# SECCOMP_GET_ACTION_AVAIL of SECCOMP_RET_KILL_PROCESS.
deed('seccomp', 'seccomp', 2, 0, pack('L', 0x80000000));
# RLIMIT_NOFILE, as it is.
my $limits = pack('QQ', 0, 0);
syscall($numbers->{prlimit}, 0, 7, 0, $limits);
deed('prlimit', 'prlimit', 0, 7, $limits, 0);
