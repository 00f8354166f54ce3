%% The loads of actors and supervisors inside the Erlang virtual machine. Prints one line of figures per load, nanoseconds.
%% Run: erl -noshell -s actors main LOAD COUNT SENDERS
-module(actors).
-behaviour(supervisor).
-export([main/1, init/1, start_child/0, start_fragile/1, waits/0]).

main([Load, Count, Senders]) ->
    N = list_to_integer(atom_to_list(Count)),
    S = list_to_integer(atom_to_list(Senders)),
    logger:set_primary_config(level, none),
    io:format("~s~n", [load(Load, N, S)]),
    halt().

now_ns() -> erlang:monotonic_time(nanosecond).

load(tell, N, S) ->
    Me = self(),
    Each = N div S,
    Sink = spawn_link(fun() -> sink(Each * S, 0, Me) end),
    From = now_ns(),
    [spawn_link(fun() -> send(Sink, 0, Each) end) || _ <- lists:seq(1, S)],
    receive {done, Sum} -> Sum = S * (Each * (Each - 1) div 2) end,
    rate(Each * S, From);
load(ask, N, _) ->
    Server = spawn_link(fun serve/0),
    samples(N, fun() ->
        From = now_ns(),
        {ok, ok} = gen:call(Server, '$gen_call', request, 5000),
        now_ns() - From
    end);
load(start, N, _) ->
    {ok, Sup} = supervisor:start_link(?MODULE, template),
    From = now_ns(),
    starts(Sup, N),
    rate(N, From);
load(spawn, N, _) ->
    From = now_ns(),
    spawns(N),
    rate(N, From);
load(restart, N, _) ->
    process_flag(trap_exit, true),
    {ok, _} = supervisor:start_link(?MODULE, {fragile, self()}),
    First = receive {first, _, Pid} -> Pid end,
    put(child, First),
    samples(N, fun() ->
        get(child) ! crash,
        receive {crashed, From} -> ok end,
        receive {first, At, New} -> put(child, New) end,
        At - From
    end).

sink(0, Sum, Main) -> Main ! {done, Sum};
sink(Left, Sum, Main) -> receive Number -> sink(Left - 1, Sum + Number, Main) end.

send(_, N, N) -> ok;
send(To, Number, N) -> To ! Number, send(To, Number + 1, N).

serve() -> receive {'$gen_call', From, _} -> gen:reply(From, ok), serve() end.

starts(_, 0) -> ok;
starts(Sup, N) -> {ok, _} = supervisor:start_child(Sup, []), starts(Sup, N - 1).

spawns(0) -> ok;
spawns(N) -> spawn(?MODULE, waits, []), spawns(N - 1).

init(template) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => child, start => {?MODULE, start_child, []}, restart => temporary, shutdown => brutal_kill}]}};
init({fragile, Main}) ->
    {ok, {#{intensity => 1000000000, period => 1}, [#{id => fragile, start => {?MODULE, start_fragile, [Main]}}]}}.

start_child() -> {ok, spawn_link(?MODULE, waits, [])}.

waits() -> receive stop -> ok end.

start_fragile(Main) ->
    Child = spawn_link(fun() -> fragile(Main) end),
    Child ! first,
    {ok, Child}.

fragile(Main) ->
    receive
        first -> Main ! {first, now_ns(), self()}, fragile(Main);
        crash -> Main ! {crashed, now_ns()}, exit(told_to)
    end.

rate(N, From) -> io_lib:format("~p", [(now_ns() - From) / N]).

samples(N, Once) ->
    warm(N div 10, Once),
    Sorted = lists:sort([Once() || _ <- lists:seq(1, N)]),
    Taken = list_to_tuple(Sorted),
    At = fun(Share) -> element(1 + trunc((N - 1) * Share), Taken) end,
    io_lib:format("~p ~p ~p ~p", [At(0.5), At(0.99), At(0.999), lists:sum(Sorted) / N]).

warm(0, _) -> ok;
warm(N, Once) -> Once(), warm(N - 1, Once).
