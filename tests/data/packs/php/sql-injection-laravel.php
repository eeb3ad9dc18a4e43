<?php
class OrderController
{
    public function index(Request $request)
    {
        // ruleid: php-sql-injection
        $a = DB::select("SELECT * FROM orders WHERE state = '" . $request->input('state') . "'");
        $sort = $request->query('sort');
        // ruleid: php-sql-injection
        $b = Order::query()->orderByRaw($sort)->get();
        // ruleid: php-sql-injection
        $c = Order::where(DB::raw("lower('{$request->get('name')}')"), 1)->get();
        // ok: php-sql-injection
        $d = DB::select('SELECT * FROM orders WHERE state = ?', [$request->input('state')]);
        // ok: php-sql-injection
        $e = Order::where('state', $request->input('state'))->get();
        // ok: php-sql-injection
        $f = Order::query()->whereRaw('total > ?', [$request->input('min')])->get();
        return [$a, $b, $c, $d, $e, $f];
    }
}
